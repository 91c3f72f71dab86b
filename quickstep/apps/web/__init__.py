"""The web app: see it, try it live, correct it, build on it. The only room that knows Streamlit.

settings   AppConfig: what the app is started with
launch     start: the demo's model where none is given, the server, its temporary folder
main       the script that Streamlit runs for each person: the pages, and errors as sentences
theme      colours and shapes, light and dark
session    what the app was started with, and a session's own folder
shelf      the models to choose from, and the one in use
desk       what a page is made with: title, errors, progress, the videos somebody brought
words      how sure a score may sound, in plain words
drawn      answers, bars and intervals as HTML
strip      spans under a player; a click jumps there
playing    videos that a browser can play
jobs       long work in a process of its own: progress, time left, its end
try_it, live, library, review, train, report   one page each

Nothing of a person's is in a global: files and results belong to their session and go when it ends.
"""
