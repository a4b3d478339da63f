"""What nodes of the plugin profile and the TensorRT plugins that carry them out agree on."""

PLUGINS, VERSION, NAMESPACE = ("DeformConv2d", "InrQuery"), "1", "vinr"
