"""What a task asks for, computed block by block: masks, pairs of dates, fills, side-cars."""
