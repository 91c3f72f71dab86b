"""The web app, on Streamlit: try a model, try it live, search a library, review labels, train, and read reports.

launch          start the server, with its temporary folder
config          what the app is started with
main            the script that Streamlit runs for each session and each click
session         the session's folder and caches, and the model in use
page_elements   titles, errors, progress and uploads of all pages
formatting      predictions and numbers as text and HTML
video_player    videos that a browser can play
jobs            commands that run in processes of their own
theme           colours and style
pages           one module a page

Files and results belong to a session, never to a global variable; they are removed when the session ends.
"""
