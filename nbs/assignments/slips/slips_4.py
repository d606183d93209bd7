SLIPS = {
}
