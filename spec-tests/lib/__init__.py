"""What the conformance tests stand on: the runtime's command line, bundles, the probe, the leak guard."""
