"""What methods make of attention: flows from the maps of all layers to one row per score."""
