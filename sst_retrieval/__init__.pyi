"""What is public, by the module it comes from: `__init__.py` reads this file when the package is imported."""

from .annotate.label_names import (
    find_label_picture as find_label_picture,
    name_label_picture as name_label_picture,
    read_label_picture_name as read_label_picture_name,
)
from .annotate.saving import save_support as save_support
from .build.pipeline import build_index as build_index
from .build.settings import BuildSettings as BuildSettings
from .files import explain_os_error as explain_os_error
from .foregrounds.loading import load_foreground as load_foreground
from .track.clicks import Clicker as Clicker, load_clicker as load_clicker
from .collection.specimens import Collection as Collection, read_collection as read_collection
from .synthetic.drawer import make_drawer as make_drawer
from .search.outside import embedder_of as embedder_of
from .describe.contract import Embedder as Embedder
from .describe.region_vectors import describe_embedder as describe_embedder
from .engines import (
    EMBEDDERS as EMBEDDERS,
    FINDERS as FINDERS,
    PROPAGATORS as PROPAGATORS,
    load_embedder as load_embedder,
)
from .errors import (
    CollectionError as CollectionError,
    FetchError as FetchError,
    ImageError as ImageError,
    IndexFolderError as IndexFolderError,
    InputError as InputError,
    ModelError as ModelError,
    ModelMismatchError as ModelMismatchError,
    QueryError as QueryError,
    SSTError as SSTError,
    SupportError as SupportError,
)
from .export import (
    export_characters as export_characters,
    export_coco as export_coco,
    export_counts as export_counts,
    export_croissant as export_croissant,
    export_darwin_core as export_darwin_core,
    export_distances as export_distances,
    export_instances as export_instances,
    export_masks as export_masks,
    export_overlays as export_overlays,
    export_silhouettes as export_silhouettes,
    export_table as export_table,
    export_tps as export_tps,
    export_vectors as export_vectors,
    pull_index as pull_index,
    push_index as push_index,
)
from .fetch.client import Manners as Manners
from .fetch.photographs import FetchReport as FetchReport, fetch_photographs as fetch_photographs
from .imaging.images import read_image as read_image, read_labels as read_labels, read_photograph as read_photograph
from .index.origin import (
    Origin as Origin,
    find_indexes as find_indexes,
    index_state as index_state,
    origin_of as origin_of,
    rebuild_command as rebuild_command,
)
from .imaging.masks import outlines as outlines
from .morphology.scales import read_scales as read_scales
from .search.outside import query_vectors as query_vectors, read_mask as read_mask
from .pictures.overlays import PALETTE as PALETTE, around_box as around_box, overlay as overlay
from .track.contract import Propagator as Propagator
from .search.distributed import SearchCluster as SearchCluster, open_search_cluster as open_search_cluster
from .search.index import Index as Index, open_index as open_index
from .imaging.read_policy import Reach as Reach
from .build.report import BuildReport as BuildReport
from .index.reviews import DECISIONS as DECISIONS, Review as Review
from .pictures.sheets import Tile as Tile, contact_sheet as contact_sheet, hit_tile as hit_tile
from .annotate.supports import Supports as Supports, read_supports as read_supports
from .annotate.traits import check_trait_name as check_trait_name
from .annotate.traits import find_traits_file as find_traits_file
from .annotate.traits import read_traits as read_traits
from .types import (
    Clicked as Clicked,
    Frame as Frame,
    Hit as Hit,
    Propagated as Propagated,
    Region as Region,
    Skipped as Skipped,
    Individual as Individual,
    Photograph as Photograph,
    Support as Support,
)
from .words import (
    Question as Question,
    answer as answer,
    described as described,
    understand as understand,
    words_for_model as words_for_model,
)

__version__: str
