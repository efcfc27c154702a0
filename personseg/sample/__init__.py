"""A generated stand-in for the PicsArt data: drawn people, exact masks, planted label defects."""
