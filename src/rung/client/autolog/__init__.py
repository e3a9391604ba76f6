"""``rung.autolog()``: what training libraries do is logged without a line in the training script.

Calls of a library are watched by replacing functions of it, after the script has imported it. The original is always
called as it was, its answers and exceptions pass unchanged; a failure of ours is a warning, never the user's.
"""
