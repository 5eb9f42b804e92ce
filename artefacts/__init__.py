"""What the planes hand each other, each written once: addresses, files and their formats.

May import the contract, and nothing else of ours.
"""
