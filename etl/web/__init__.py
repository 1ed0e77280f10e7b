"""HTTP for all rooms of the served process: headers, bodies, rate limits, templates."""
