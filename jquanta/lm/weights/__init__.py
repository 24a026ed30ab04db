"""Load the weights of language models from the hub or a folder, and save them.

``sources`` finds the files, ``files`` reads tensors from them, ``tables`` translates Hugging Face's
names, ``load`` and ``save`` put them together.
"""
