"""What profiles say of a resource, guide by guide: the facts, and the rules made of them."""
