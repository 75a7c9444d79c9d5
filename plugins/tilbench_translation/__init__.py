"""Translation, scored by sacreBLEU and chrF++."""
