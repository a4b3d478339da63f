"""V3's and Thera's own files and layers; their query is `vinr_engine.ops.v3_query`."""
