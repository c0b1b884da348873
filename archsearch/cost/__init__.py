"""How long ops take on a GPU: kernel models, their calibration, and the cost model that joins them."""
