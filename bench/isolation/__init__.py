"""The midnight incident again: do dashboards still slow production down?"""
