"""`python -m uploader`."""

from uploader.cli import main

main()
