"""The synthetic world: phrases, samples and the sets that specifications name as organism/<set>."""
