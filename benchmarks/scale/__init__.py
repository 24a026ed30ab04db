"""How work grows: the arithmetic of large runs (``table``), and scaling as measured (``draw``)."""
