"""Rules as data: the rule book, the kinds of check, and the page that documents them."""
