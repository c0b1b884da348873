"""``archsearch ui``: pages that answer while one asks. What is answered first, then what is shown, then who serves it.

``what_if`` answers a selection without a page, ``knobs`` says what can be turned, ``front_place`` where an architecture
stands among others; ``page`` shows them in a browser. ``study_notes`` and ``dashboard`` are for stored studies.
"""
