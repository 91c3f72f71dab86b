"""The pages of the web app, one module a page."""
