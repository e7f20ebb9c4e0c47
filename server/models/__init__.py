"""Cloud models of the operator's own: cards in a folder, checked before any of them is used."""
