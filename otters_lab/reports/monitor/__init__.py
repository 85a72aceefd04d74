"""The live monitor: a page on loopback that shows the runs of a folder, and can disturb none of them.

It opens files to read them, takes no lock that a writer waits for, writes nothing, and looks only while somebody
watches.
"""
