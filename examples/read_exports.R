# Read what sst-retrieval exports, with nothing but R and ape (Debian, Ubuntu: apt install r-base-core r-cran-ape).
#
#   sst-retrieval export table INDEX traits.csv --trait forewing_band
#   sst-retrieval export outlines INDEX outlines.tps --trait forewing_band
#   sst-retrieval export characters INDEX characters.csv --by scientificName --tree tree.nwk
#   Rscript read_exports.R traits.csv outlines.tps characters.csv tree.nwk
#
# Two more words may follow: a Parquet table of the same traits (needs nanoparquet or arrow), and a folder of silhouettes
# (`export outlines INDEX silhouettes --trait ...`; needs jpeg). For geomorph and phylogenetic signal see phylogeny.R.

library(ape)

# A TPS file as an array points x 2 x outlines; dimnames are its IDs. With `scaled` in millimetres where SCALE is known,
# as geomorph::readland.tps(..., specID = "ID") gives it; else in pixels.
read_tps <- function(path, scaled = FALSE) {
  lines <- readLines(path)
  starts <- grep("^LM=", lines)
  ends <- c(starts[-1] - 1, length(lines))
  points <- as.integer(sub("LM=", "", lines[starts]))
  stopifnot(length(starts) > 0, length(unique(points)) == 1)
  outlines <- array(NA_real_, c(points[1], 2, length(starts)))
  names <- character(length(starts))
  for (i in seq_along(starts)) {
    block <- lines[starts[i]:ends[i]]
    outlines[, , i] <- as.matrix(read.table(text = block[1 + seq_len(points[i])]))
    names[i] <- sub("^ID=", "", grep("^ID=", block, value = TRUE))
    scale <- grep("^SCALE=", block, value = TRUE)
    if (scaled && length(scale) == 1) outlines[, , i] <- outlines[, , i] * as.numeric(sub("^SCALE=", "", scale))
  }
  dimnames(outlines) <- list(NULL, c("x", "y"), names)
  outlines
}

# Square root of the summed squared distances from the centroid.
centroid_size <- function(points) sqrt(sum(scale(points, scale = FALSE)^2))

# Area inside a closed curve (the shoelace formula).
enclosed_area <- function(points) {
  following <- points[c(2:nrow(points), 1), ]
  abs(sum(points[, 1] * following[, 2] - following[, 1] * points[, 2])) / 2
}

words <- commandArgs(trailingOnly = TRUE)
stopifnot(length(words) >= 4)

# 1. The trait table: one row a region.
traits <- read.csv(words[1], check.names = FALSE)
cat("regions:", nrow(traits), "species:", length(unique(traits$scientificName)), "\n")

# 2. Outlines; ID is SPECIMEN__SIDE.
outlines <- read_tps(words[2])
specimen <- sub("__[a-z]+$", "", dimnames(outlines)[[3]])
sizes <- apply(outlines, 3, centroid_size)
cat("outlines:", dim(outlines)[3], "of", dim(outlines)[1], "points; mean centroid size", format(mean(sizes)), "\n")
stopifnot(all(specimen %in% traits$specimen))

# The areas that the outlines enclose, both sides together, follow the areas that were measured on the masks.
enclosed <- tapply(apply(outlines, 3, enclosed_area), specimen, sum)
measured <- traits$area_px[match(names(enclosed), traits$specimen)]
cat("correlation of enclosed and measured areas:", format(cor(enclosed, measured, method = "spearman")), "\n")

# 3. Species means and a tree: independent contrasts of size.
means <- read.csv(words[3], row.names = "scientificName", check.names = FALSE)
tree <- read.tree(words[4])
shared <- intersect(tree$tip.label, rownames(means))
tree <- keep.tip(tree, shared)
area <- intersect(paste0(traits$trait[1], c(".area_px", ".area_mm2")), colnames(means))[1]
contrasts <- pic(setNames(log(means[tree$tip.label, area]), tree$tip.label), multi2di(tree))
cat("contrasts of log", area, "on", length(shared), "species:", format(contrasts, digits = 3), "\n")

# 4. The same table as Parquet.
if (length(words) >= 5) {
  if (requireNamespace("nanoparquet", quietly = TRUE)) {
    parquet <- as.data.frame(nanoparquet::read_parquet(words[5]))
  } else if (requireNamespace("arrow", quietly = TRUE)) {
    parquet <- as.data.frame(arrow::read_parquet(words[5]))
  } else {
    parquet <- NULL
    cat("parquet: neither nanoparquet nor arrow is installed\n")
  }
  if (!is.null(parquet)) {
    stopifnot(nrow(parquet) == nrow(traits), isTRUE(all.equal(parquet$area_px, traits$area_px)))
    cat("parquet:", nrow(parquet), "rows, the same areas\n")
  }
}

# 5. Silhouettes: Momocs begins in the middle of each, which must be inside the shape.
if (length(words) >= 6) {
  if (requireNamespace("jpeg", quietly = TRUE)) {
    files <- list.files(words[6], pattern = "\\.jpg$", full.names = TRUE)
    black <- vapply(files, function(file) {
      picture <- jpeg::readJPEG(file)
      if (length(dim(picture)) == 3) picture <- picture[, , 1]
      picture[round(nrow(picture) / 2), round(ncol(picture) / 2)] < 0.5
    }, logical(1))
    stopifnot(length(files) > 0, all(black))
    cat("silhouettes:", length(files), "with a black middle\n")
  } else {
    cat("silhouettes: the package jpeg is not installed\n")
  }
}
