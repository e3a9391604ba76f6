"""Exchange: a plan or a run in the words of other systems. Tables of translations; nothing is decided here."""
