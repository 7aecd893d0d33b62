"""What a data set gives away without its pixels, and which pictures come twice."""
