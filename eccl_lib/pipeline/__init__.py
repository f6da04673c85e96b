"""The stages of the paper and the nine rows of Table 1: what each trains and which runs it depends on."""
