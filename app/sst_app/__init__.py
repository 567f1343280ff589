"""The app: `pages/`, and the modules that the pages share. It uses public names of sst_retrieval only."""
