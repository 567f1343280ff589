"""Find the individuals on photographs that may show several: in the wild, in drawers, on unit trays."""
