"""The pages of the app; Streamlit runs a page as a script after every interaction."""
