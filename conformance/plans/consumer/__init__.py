"""Document Consumer and Imaging Document Consumer, judged by what they send to simulated peers, and by what
they make of wrong answers."""
