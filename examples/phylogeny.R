# From sst-retrieval to R: phylogenetic signal and phylogenetic regression of a trait's outline and size.
#
# sst-retrieval measures; models of evolution stay in R. This script reads four files that it writes:
#
#   sst-retrieval export characters INDEX characters.csv --by scientificName --tree tree.nwk
#   sst-retrieval export outlines INDEX outlines.tps --trait forewing_band
#   sst-retrieval export table INDEX traits.csv --trait forewing_band
#
# and tree.nwk, your phylogeny (Newick), whose tips are the species of `scientificName`; spaces and underscores match.
# Run it in the folder with these files:   Rscript phylogeny.R
# It needs the packages ape and geomorph (tried with 4.0.8); without a screen: options(rgl.useNULL = TRUE) first.

library(ape)
library(geomorph)

trait <- "forewing_band"
tree <- read.tree("tree.nwk")

# Species means: one row a species, spelt as in the tree; columns TRAIT.MEASUREMENT.
means <- read.csv("characters.csv", row.names = "scientificName", check.names = FALSE)
shared <- intersect(tree$tip.label, rownames(means))
left_out <- setdiff(union(tree$tip.label, rownames(means)), shared)
if (length(left_out) > 0) message("in one of tree and table only: ", paste(left_out, collapse = ", "))
tree <- keep.tip(tree, shared)
means <- means[shared, ]

# Outlines: each point a semi-landmark, curves closed; ID is SPECIMEN__SIDE. The left ones are taken.
outlines <- readland.tps("outlines.tps", specID = "ID", readcurves = FALSE)
left <- grepl("__left$", dimnames(outlines)[[3]])
outlines <- outlines[, , left]
specimen <- sub("__left$", "", dimnames(outlines)[[3]])
points <- dim(outlines)[1]
sliders <- cbind(before = c(points, 1:(points - 1)), slide = 1:points, after = c(2:points, 1))
superimposed <- gpagen(outlines, curves = sliders, print.progress = FALSE)

# Whose outline is it? The trait table says.
traits <- read.csv("traits.csv", check.names = FALSE)
species <- gsub(" ", "_", traits$scientificName[match(specimen, traits$specimen)])
shape <- aggregate(two.d.array(superimposed$coords), by = list(species = species), FUN = mean)
rownames(shape) <- shape$species
shape <- arrayspecs(as.matrix(shape[shared, -1]), points, 2)

# Phylogenetic signal: Kmult of the outline (Adams 2014), and K of size and colour.
print(physignal(A = shape, phy = tree, print.progress = FALSE))
for (name in paste0(trait, c(".area_px", ".lightness_mean"))) {
  if (name %in% colnames(means)) {
    print(physignal(A = as.matrix(means[, name, drop = FALSE]), phy = tree, print.progress = FALSE))
  }
}

# Does the outline change with size along the tree? (PGLS; Adams 2014, Adams & Collyer 2018.) Millimetres if known.
size_name <- intersect(paste0(trait, c(".area_mm2", ".area_px")), colnames(means))[1]
data <- geomorph.data.frame(shape = shape, size = log(means[[size_name]]), phy = tree)
print(summary(procD.pgls(shape ~ size, phy = phy, data = data, print.progress = FALSE)))
