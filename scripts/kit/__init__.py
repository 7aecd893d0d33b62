"""Python programs run by ``scripts/gpu_kit.sh``, or by a kit's ``run.sh``."""
