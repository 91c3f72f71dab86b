"""Command line, web app and service: parse, call one function, show."""
