"""The control plane's wings: configuration, the store of keys, prices. The data plane never imports them."""
