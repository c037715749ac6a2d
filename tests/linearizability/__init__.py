"""What eight processes have seen of one circuit, checked against the machine.

`recorder` writes down what a process does, `traffic` does it, `rounds` starts the processes and breaks
things around them; `checker` looks for an order of all that in which the machine would have said the same,
and `views` whether each call was told what the store had said a moment before.
"""
