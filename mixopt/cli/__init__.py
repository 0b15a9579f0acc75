"""The `mixopt` command: parse, call, print."""

from mixopt.cli.app import main as main
