"""Who asks: tokens and grants, and which resources a grant opens."""
