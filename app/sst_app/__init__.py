"""The pages of the app and what they share. Of sst_retrieval they use public names only."""
