"""What of a photograph is a thing and what is background: the colour rule, or a salient-object network."""
