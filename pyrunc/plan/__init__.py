"""The pure middle: from Spec, Host, Request and Facts to a Plan."""
