"""Several bundles in one account: who they are, what each gets, who watches in shadow."""
