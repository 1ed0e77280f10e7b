"""Profile knowledge, by guide: facts of the profiles, and the rules made of them."""
