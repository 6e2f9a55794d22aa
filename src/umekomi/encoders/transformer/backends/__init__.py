"""What runs a transformer: OpenVINO on CPUs, torch on GPUs."""
