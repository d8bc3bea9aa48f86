"""What surrounds the routes: answers, errors, guards, metrics, repeats, answers kept encoded."""
