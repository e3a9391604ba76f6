"""The web pages: an entrance. It parses addresses, asks the platform through requests and shows the answers.

No decision is taken here and nothing is read past the one door. Charts are SVG drawn by the server, pages work without
JavaScript, and every page also answers as JSON.
"""
