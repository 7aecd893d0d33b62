"""Python programs that are run by ``scripts/gpu_kit.sh``, or by ``run.sh``, the script that accompanies a kit."""
