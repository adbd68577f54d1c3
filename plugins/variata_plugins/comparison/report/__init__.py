"""The report of a comparison: one page of HTML that holds all that it shows, and its charts as PNG.

A comparison becomes sections (`sections.py`) of tables (`tables.py`), learning curves (`curves.py`) and pictures
(`pictures.py`), in the terms of `contents.py`; these are set as HTML by `html.py`, from the template, style and script
in `page/`, and painted as PNG by `painted.py`. `writing.py` does all of it for a folder.
"""
