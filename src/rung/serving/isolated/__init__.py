"""Models in processes of their own: a crash, a hang or a leak of theirs ends in a reason, and harms no other request.

``scoring`` is the side of who asks, ``child`` the process that answers, ``wire`` what goes between.
"""
